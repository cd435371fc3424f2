"""Studies over many runs: tables, statistics and figures."""
