"""What stands before a cutover: a report that was approved, and that is used once."""

from devflow.approval.gatekeeper import Approved, Gatekeeper, unapproved

__all__ = ["Approved", "Gatekeeper", "unapproved"]
