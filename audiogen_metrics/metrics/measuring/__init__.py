"""What follows from a metric and its sets: intervals, chance, differences of systems; each computed once."""
