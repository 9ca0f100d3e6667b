"""The contract's cases, as classes whose ``host`` fixture the inhabitants' test files give."""
