"""The facade: the words of agent-atm, on the gate that all other doors lead to."""
