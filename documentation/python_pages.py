"""The Python API, for mkdocstrings: the names that a package exports are what its users may rely on."""

MODULES = {
    "mia_core.front": "Attack any model with one call",
    "mia_core.models": "What is attacked",
    "mia_core.attacks.attack": "The contract of attacks",
    "mia_core.targets.target": "The contract of targets",
    "mia_core.defenses.defense": "The contract of defenses",
    "mia_core.access": "Capabilities and access",
    "study.store.reading": "Reading a store",
    "analysis.study_data": "A study as the analysis sees it",
    "analysis.stats.tradeoff": "What protection costs",
    "analysis.stats.threats": "Who could attack",
}


def python_page() -> str:
    """Names that studies, notebooks and other programs use."""
    lines = ["# Python", "", "`mia_core` needs no Ray, MLflow or YAML; `study.store.read` gives pandas tables.", ""]
    for name, words in MODULES.items():
        lines += [f"## {words}", "", f"::: {name}", ""]
    return "\n".join(lines)
