"""HTML reports of runs and studies."""

from convlens.report.render import report_runs, write_report

__all__ = ["report_runs", "write_report"]
