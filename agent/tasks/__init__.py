"""The loops of the daemon, one file each; `agent.app` starts them."""
