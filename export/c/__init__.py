"""export/c"""
