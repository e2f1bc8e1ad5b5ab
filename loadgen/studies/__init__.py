"""Named studies: each makes the tables of one claim in docs/benchmarks.md, from a seed."""
