"""Approval: what a report must show, who must sign it, and that it is used once."""

from harness.approval.approve import Prepared, prepare
from harness.approval.judge import Asked, Judged, judge
from harness.approval.keyring import KeyRing
from harness.approval.policy import APPROVAL_TYPE, Policy

__all__ = ["APPROVAL_TYPE", "Asked", "Judged", "KeyRing", "Policy", "Prepared", "judge", "prepare"]
