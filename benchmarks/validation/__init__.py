"""What benchmarks/validate_boards.py compares with published hardware, one concept a file."""
