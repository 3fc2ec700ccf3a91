"""What a log proves, tells and is worth, without a dispatcher."""
