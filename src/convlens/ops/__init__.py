"""Operations and layers of any torch network."""
