"""Audit events in: OpenTelemetry log records become entries of a log, without loss or doubt.

Nothing is imported here, so that a program without the extra `otlp` can read entries.
"""
