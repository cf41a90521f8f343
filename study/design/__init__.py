"""From a spec to trials: what each is, what it shall hold, and what of that is missing."""
