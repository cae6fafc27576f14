"""policy/adopt"""
