"""IAM, kept and not yet enforced: roles and policies as set-up code makes and reads them.

IAM is global: an account is one world whatever the region of the call. Nothing here decides what a caller may
do; a policy is checked for its grammar, kept, and given back (docs/behaviour/iam.md).
"""

from eventrt.aws.services.iam.attachments import AttachmentOperations
from eventrt.aws.services.iam.policies import PolicyOperations
from eventrt.aws.services.iam.roles import RoleOperations


class IamService(RoleOperations, PolicyOperations, AttachmentOperations):
    """The operations of IAM on roles and their policies.

    Args: store: where they are kept.
    """

    service_id = "iam"
