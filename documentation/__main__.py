"""`python -m documentation build/reference`: the generated pages as Markdown files, to be read without a site."""

import sys
from pathlib import Path

from documentation.generated_pages import pages

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, text in pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path)
