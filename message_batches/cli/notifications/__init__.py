"""The part of the command line that is about webhooks: `start --notify`, `notify`, and what `status` shows of them."""
