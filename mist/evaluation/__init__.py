"""Measuring an estimator against known MI: suites of labelled data sets, scores, baselines, a report."""

from mist.evaluation.prediction import Records, evaluate_network, predict
from mist.evaluation.report import format_table, write_report
from mist.evaluation.suites import SUITES, Dataset, build_suite
from mist.evaluation.summary import summarise, summarise_cells

__all__ = [
    "SUITES",
    "Dataset",
    "Records",
    "build_suite",
    "evaluate_network",
    "format_table",
    "predict",
    "summarise",
    "summarise_cells",
    "write_report",
]
