"""All pages of the reference that are made from the code, by their path in the site."""

from documentation.column_pages import store_page
from documentation.command_pages import command_page
from documentation.model_cards import attack_cards, defense_cards, derived_cards, measure_page, target_cards
from documentation.python_pages import python_page
from documentation.setting_pages import schema_file, study_file_page


def pages() -> dict[str, str]:
    """Markdown of each page."""
    return {
        "reference/commands.md": command_page(),
        "reference/study_file.md": study_file_page(),
        "reference/study.schema.json": schema_file(),
        "reference/columns.md": store_page(),
        "reference/targets.md": target_cards(),
        "reference/attacks.md": attack_cards(),
        "reference/derived_attacks.md": derived_cards(),
        "reference/defenses.md": defense_cards(),
        "reference/measures.md": measure_page(),
        "reference/python.md": python_page(),
    }
