"""`flowq docs`: the pages of the documentation, which are installed with the package.

Messages of flowq name a page by this command, so that what they point to exists on every machine,
in the version that is installed, without a network.
"""

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK


@click.command()
@click.argument("page", required=False)
@options.as_json
def docs(page: str | None, *, as_json: bool) -> int:
    """Show a PAGE of the documentation; without one, list the pages.

    A page is named by its file, or by its folder and file: `settings`, `http/blocks`. In a pipe the
    page is printed as Markdown.
    """
    from flowq.entrypoints.cli.display import console, manual

    pages = manual.find_pages()
    if page is None:
        if as_json:
            console.print_json({name: found.title for name, found in pages.items()})
        else:
            manual.print_list(pages)
        return OK
    found = manual.select(pages, page)
    if as_json:
        console.print_json({"name": found.name, "title": found.title, "text": found.text})
    else:
        manual.print_page(found)
    return OK
