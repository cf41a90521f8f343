"""The notebooks, and `mia-study notebooks ROOT/STUDY`, which runs them on a study."""
