"""A stand-in for WAL-G 3.0.9: its command line, exit codes, JSON and object names over a real S3 store.

Used where WAL-G itself cannot be had; ``transcript/cases.json`` holds both to the same answers.
"""
