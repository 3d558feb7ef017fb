"""Fuzzing of every decoder: `python -m tests.fuzz --decoder NAME --inputs N [--seed S] [--seconds T]`."""
