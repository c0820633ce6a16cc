import uuid

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def give_each_its_own(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """A default is made once for all the rows of a table, and a uuid names one."""
    for name in ("Customer", "Container", "Domain"):
        model = apps.get_model("api", name)
        for row in model.objects.only("pk"):
            model.objects.filter(pk=row.pk).update(uuid=uuid.uuid4())


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0002_timezone_and_locale"),
    ]

    operations = [
        migrations.CreateModel(
            name="News",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("content", models.TextField()),
                ("date", models.DateTimeField(auto_now_add=True)),
                ("is_public", models.BooleanField(default=False)),
            ],
            options={
                "verbose_name_plural": "news",
                "ordering": ["-date", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                (
                    "container",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="notification",
                        serialize=False,
                        to="api.container",
                    ),
                ),
                ("jid", models.CharField(blank=True, default="", max_length=255)),
                ("jid_secret_encrypted", models.TextField(blank=True, default="")),
                ("jid_destinations", models.CharField(blank=True, default="", max_length=255)),
                ("pushover_user", models.CharField(blank=True, default="", max_length=255)),
                ("pushover_token", models.CharField(blank=True, default="", max_length=255)),
                ("pushover_sound", models.CharField(blank=True, default="", max_length=255)),
                ("pushbullet_token", models.CharField(blank=True, default="", max_length=255)),
                ("slack_webhook", models.CharField(blank=True, default="", max_length=255)),
                ("alarm_freq", models.PositiveIntegerField(default=60)),
                ("quota_threshold", models.PositiveIntegerField(default=90)),
            ],
        ),
        migrations.AddField(
            model_name="container",
            name="nofollow",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="container",
            name="note",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="container",
            name="secret_uuid",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="container",
            name="title",
            field=models.CharField(blank=True, default="", max_length=255),
        ),
        migrations.AddField(
            model_name="container",
            name="uuid",
            field=models.UUIDField(default=uuid.uuid4, editable=False),
        ),
        migrations.AddField(
            model_name="customer",
            name="company",
            field=models.CharField(blank=True, max_length=255, null=True),
        ),
        migrations.AddField(
            model_name="customer",
            name="uuid",
            field=models.UUIDField(default=uuid.uuid4, editable=False),
        ),
        migrations.AddField(
            model_name="customer",
            name="vat",
            field=models.CharField(blank=True, max_length=255, null=True),
        ),
        migrations.AddField(
            model_name="domain",
            name="note",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="domain",
            name="uuid",
            field=models.UUIDField(default=uuid.uuid4, editable=False),
        ),
        migrations.AddField(
            model_name="node",
            name="address",
            field=models.GenericIPAddressField(null=True),
        ),
        migrations.AddField(
            model_name="node",
            name="memory_bytes",
            field=models.PositiveBigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="node",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="nodes",
                to="api.customer",
            ),
        ),
        migrations.AddField(
            model_name="node",
            name="storage_bytes",
            field=models.PositiveBigIntegerField(null=True),
        ),
        migrations.AlterField(
            model_name="customer",
            name="email",
            field=models.CharField(blank=True, default="", max_length=255),
        ),
        migrations.RunPython(give_each_its_own, migrations.RunPython.noop, elidable=True),
        migrations.AlterField(
            model_name="customer",
            name="uuid",
            field=models.UUIDField(default=uuid.uuid4, editable=False, unique=True),
        ),
        migrations.CreateModel(
            name="Tag",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("note", models.TextField(blank=True, default="")),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tags",
                        to="api.customer",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AddField(
            model_name="container",
            name="tags",
            field=models.ManyToManyField(related_name="containers", to="api.tag"),
        ),
        migrations.AddField(
            model_name="domain",
            name="tags",
            field=models.ManyToManyField(related_name="domains", to="api.tag"),
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=64, unique=True)),
                ("password", models.CharField(max_length=255)),
                ("is_active", models.BooleanField(default=True)),
                ("created", models.DateTimeField(auto_now_add=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="users",
                        to="api.customer",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AddConstraint(
            model_name="tag",
            constraint=models.UniqueConstraint(
                fields=("customer", "name"), name="tag_once_a_customer"
            ),
        ),
    ]
