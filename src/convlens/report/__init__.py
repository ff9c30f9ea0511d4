"""Run directories in, one HTML file out."""

from convlens.report.render import report_runs, write_report

__all__ = ["report_runs", "write_report"]
