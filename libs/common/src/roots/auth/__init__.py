"""Who asks, and what they may: tokens, policy, back ends' keys."""
