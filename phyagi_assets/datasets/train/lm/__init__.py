"""Language modelling: sequences of token ids."""
