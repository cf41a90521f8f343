"""Many trials: specs, designs, sweeps under Ray Tune, the store, MLflow. Needs the extra `study` of the package."""

from importlib.util import find_spec

NEEDED = ["ray", "mlflow", "optuna", "pandas", "pyarrow", "yaml", "rich", "shtab", "safetensors", "SALib", "matplotlib"]
_missing = [name for name in NEEDED if find_spec(name) is None]
if _missing:
    raise ImportError(
        f"studies need {', '.join(_missing)} besides mia_core: pip install '.[study]' in the project's folder, or "
        "make sweep, which installs all"
    )
