"""What a fit says, in plain words: rows of numbers, pictures, and a page with both."""

from bimmjax.report._cross_check_page import (
    write_cross_check_report as write_cross_check_report,
)
from bimmjax.report._maps_page import maps_page as maps_page
from bimmjax.report._maps_page import write_maps_report as write_maps_report
from bimmjax.report._page import page as page
from bimmjax.report._reconstruction_page import draw_step as draw_step
from bimmjax.report._reconstruction_page import reconstruction_words as reconstruction_words
from bimmjax.report._reconstruction_page import (
    write_reconstruction_report as write_reconstruction_report,
)
from bimmjax.report._rows import Row as Row
from bimmjax.report._rows import parameter_rows as parameter_rows
from bimmjax.report._rows import property_rows as property_rows
from bimmjax.report._verdict import Verdict as Verdict
from bimmjax.report._verdict import verdict as verdict
from bimmjax.report._write import write_pictures as write_pictures
from bimmjax.report._write import write_report as write_report
