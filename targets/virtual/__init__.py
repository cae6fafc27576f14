"""targets/virtual"""
