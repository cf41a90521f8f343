"""The notebooks, and `python -m analysis.notebooks ROOT/STUDY`, which runs them on a study."""
