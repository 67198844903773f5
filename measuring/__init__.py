"""Measure and compare pictures: metrics, pairs of pictures, reports, comparison strips and pages."""
