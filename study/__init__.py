"""Many trials: specs, designs, sweeps under Ray Tune, the store, MLflow. Needs the extra `study` of the package."""

from importlib.util import find_spec

_MISSING = [
    name for name in ("ray", "mlflow", "optuna", "pandas", "pyarrow", "yaml", "rich") if find_spec(name) is None
]
if _MISSING:
    raise ImportError(
        f"studies need {', '.join(_MISSING)} besides mia_core: pip install 'mia-study[study]', or make sweep, which "
        "installs all"
    )
