"""The command line: one verb per job. Heavy imports wait inside the verbs."""

from bimmjax.cli._main import main as main
