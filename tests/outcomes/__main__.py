"""Write the text anew."""

from outcomes.files import entries, path_of
from outcomes.models import SECTIONS

for section in SECTIONS:
    text = "\n".join(line for entry in entries(section) for line in entry)
    path_of(section).write_text(text + "\n", encoding="utf-8")
