"""The checks of `defq doctor`: the machine, its libraries, and the parts of a run."""
