"""Hooks of the site: the glossary of the page comes from the table that the page has."""

from typing import Any

from surefoot.report.words import GLOSSARY


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the terms of the page where the glossary asks for them."""
    terms = "\n".join(f"- **{term}**: {text}." for term, text in GLOSSARY.items())
    return markdown.replace("<!-- glossary of the page -->", terms)
