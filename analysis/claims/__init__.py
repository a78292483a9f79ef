"""The paper's claims as data: each with the sweeps and the rule that decide it, and the verdict that the results give.

    claims.yaml -> loader (Claim) -> measures (values by pair and seed) -> rules -> verdicts (Outcome) -> page

No verdict is typed anywhere: all follow from a results root, by rules that were fixed before any
run at the paper's settings.
"""

from analysis.claims.loader import Claim, load_claims
from analysis.claims.page import write_reproduction
from analysis.claims.verdicts import Outcome, evaluate

__all__ = ["Claim", "Outcome", "evaluate", "load_claims", "write_reproduction"]
