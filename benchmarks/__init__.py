"""Figures behind the claims: accuracy on known volumes, and time beside the paper's procedure.

`python -m benchmarks NAME` prints a table and writes the numbers to `benchmarks/out/NAME.json`.
"""
