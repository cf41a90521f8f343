"""One trial's science: data, targets, defenses, training, attacks, metrics. Usable alone, as a library."""
