"""What benchmarks/boards.py compares on the virtual boards, one concept a file."""
