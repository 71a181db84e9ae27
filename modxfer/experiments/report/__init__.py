"""What an experiment's results show: tables, tests, curves and sentences, all made from its rows."""

from modxfer.experiments.report.writing import Report, write_report

__all__ = ["Report", "write_report"]
