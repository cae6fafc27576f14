"""runtime/report"""
