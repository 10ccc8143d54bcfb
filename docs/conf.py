"""Settings of Sphinx for the documentation site; `docs/build_site.py` lays out the pages and calls it."""
# ruff: noqa: INP001, A001 (a file of Sphinx, with Sphinx's names)

project = "dtool-operator"
copyright = "the dtool-operator contributors, MIT licence"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "dtool-operator"
html_copy_source = False
html_show_sphinx = False
# MyST: headings are anchors by the rule of the repository's pages (tests/unit/test_pages.py)
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # some pages have several headings of the first level
pygments_style = "default"
smartquotes = False
