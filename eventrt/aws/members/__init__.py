"""The members ledger, one file or more per service: `sqs.toml`, `lambda.toml`, `lambda-<part>.toml`, `iam.toml`.

A table per served operation; its keys are the operation's input members, dotted; its values say what eventrt does:

    [CreateFunction]
    FunctionName = "enforced"                       # does what AWS says it does
    Description = "kept"                            # AWS itself only stores it and gives it back
    CodeSigningConfigArn = "refused"                # a request that sets it gets an error naming it
    "Code.ZipFile" = "enforced"
    "Code.ImageUri" = { is = "refused", why = "container images are not supported yet" }
    "SnapStart.ApplyOn" = { is = "refused", unless = ["None"] }   # these values change nothing: accepted
    "Attributes.KmsMasterKeyId" = { is = "refused", unless = [""], code = "InvalidAttributeValue" }

- An entry for a structure covers all that is in it. As soon as one of its members is named (`Code.ZipFile`), the
  structure itself is not, and every one of its members must be.
- Elements of lists and values of maps add no step: `Entries.DelaySeconds`, `RoutingConfig.AdditionalVersionWeights`.
- Keys of a map may be named beside the map itself: `Attributes` and `Attributes.KmsMasterKeyId`.
- Empty lists, maps and structures set nothing: they are accepted even where the member is refused.
- `code` is the error code of the refusal when it is not the service's usual one (`overlays.Policy.refusal_code`).
- An operation without input members has an empty table.

`tests/unit/test_members.py` compares the files with botocore's models; a member that is named nowhere, or a name
that does not exist, fails it.
"""
