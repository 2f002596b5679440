"""What tests of identity share: keys, tokens and sessions."""
