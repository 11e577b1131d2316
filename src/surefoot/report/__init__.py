"""The report: tables, figures, the page and the model card; pure functions of records.

Nothing here runs a model. matplotlib and jinja2 are imported by the functions that need them.
"""

from surefoot.report.bracket_chart import bracket_chart, comparison_chart
from surefoot.report.card import model_card, write_markdown
from surefoot.report.gallery import certified_gallery
from surefoot.report.page import write_page
from surefoot.report.perturbations import perturbation_grid
from surefoot.report.rejection_chart import rejection_curve
from surefoot.report.set_charts import class_pairs, class_sets, set_composition, set_curves
from surefoot.report.tables import headline

__all__ = [
    "bracket_chart",
    "certified_gallery",
    "class_pairs",
    "class_sets",
    "comparison_chart",
    "headline",
    "model_card",
    "perturbation_grid",
    "rejection_curve",
    "set_composition",
    "set_curves",
    "write_markdown",
    "write_page",
]
