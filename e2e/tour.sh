# shellcheck shell=bash
# The tour of the README, as a script: bash e2e/tour.sh, against make run on a fresh
# data directory. The README shows the same lines; a test runs them.

SHOP=http://127.0.0.1:4000/v2/namespaces/shop

# Set a value, and say who and why.
curl -X PUT $SHOP/configs/checkout.timeout -H 'Config-Actor: ann' -d '{"value": 30, "reason": "a first guess"}'

# Change several at once: all or nothing.
curl -X POST $SHOP/changes -H 'Config-Actor: ann' -d '{"reason": "launch", "changes": [
  {"op": "set", "name": "checkout.timeout", "value": 10},
  {"op": "set", "name": "flags.new-cart",   "value": {"on": true, "share": 0.25}}]}'

# Remember this moment, then break something.
sleep 1; BEFORE=$(date -u +%Y-%m-%dT%H:%M:%SZ); sleep 1
curl -X PUT $SHOP/configs/checkout.timeout -H 'Config-Actor: bob' -d '{"value": 0, "reason": "faster!"}'
curl -X DELETE "$SHOP/configs/flags.new-cart?reason=cleanup" -H 'Config-Actor: bob'

# Who did that? And what is different since?
curl "$SHOP/configs/checkout.timeout/history?order=desc"
curl "$SHOP/diff?from=$BEFORE"

# The whole namespace as it was. The answer is final: no later write can change it.
curl "$SHOP/configs?at=$BEFORE"

# Bring it back: first see what would happen, then do it.
curl -X POST $SHOP/revert -d "{\"to\": \"$BEFORE\", \"dry_run\": true}"
curl -X POST $SHOP/revert -H 'Config-Actor: ann' -d "{\"to\": \"$BEFORE\", \"reason\": \"bob's changes broke checkout\"}"

# Write only if nobody else has since: If-Match, with the ETag of a read.
curl -X PUT $SHOP/configs/checkout.timeout -H 'If-Match: "v4"' -H 'Config-Actor: ann' -d '{"value": 15}'

# Everything that was ever done, newest first. And the proof that nobody has tampered with it.
curl "http://127.0.0.1:4000/v2/audit?namespace=shop&actor=bob"
curl http://127.0.0.1:4000/v2/log/verify
