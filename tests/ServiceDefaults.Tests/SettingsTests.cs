using System.ComponentModel.DataAnnotations;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Platform.ServiceDefaults.Tests;

public sealed class SettingsTests
{
    public enum Backend
    {
        Postgres,
        InMemory,
    }

    public sealed class Sample : IValidatableObject
    {
        [Setting("HEALTH_CHECK_TIMEOUT_SECONDS"), Range(1, 300)]
        public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

        [Setting("METRICS_RETENTION_DAYS", Aliases = ["MONITORING_METRIC_RETENTION_DAYS"]), Range(1, 3650)]
        public TimeSpan Retention { get; init; } = TimeSpan.FromDays(90);

        [Setting("METRICS_ENABLED")]
        public bool Enabled { get; init; } = true;

        [Setting("ALLOWED")]
        public IReadOnlyList<string> Allowed { get; init; } = ["public"];

        [Setting("BACKEND")]
        public Backend Backend { get; init; }

        [Setting("SIZE"), Range(1, 10)]
        public int Size { get; init; } = 3;

        [Setting("MASTER_KEY", Secret = true), StringLength(8)]
        public string MasterKey { get; init; } = "";

        public int Sectioned { get; init; } = 1;

        public IEnumerable<ValidationResult> Validate(ValidationContext validationContext) =>
            Size == 7 ? [new ValidationResult("SIZE must not be 7.")] : [];
    }

    private static Sample Read(params (string Name, string Value)[] settings) => Settings.Read<Sample>(
        new ConfigurationBuilder().AddInMemoryCollection(settings.Select(setting => KeyValuePair.Create<string, string?>(setting.Name, setting.Value))).Build(), "Sample");

    private static string Error(params (string Name, string Value)[] settings) => Assert.Throws<SettingsException>(() => Read(settings)).Message;

    [Fact]
    public void Nothing_set_gives_the_defaults()
    {
        var sample = Read(("METRICS_ENABLED", " "));

        Assert.Equal((TimeSpan.FromSeconds(5), true, 3, 1), (sample.Timeout, sample.Enabled, sample.Size, sample.Sectioned));
    }

    [Fact]
    public void Each_type_is_read_from_its_text()
    {
        var sample = Read(("HEALTH_CHECK_TIMEOUT_SECONDS", "2.5"), ("METRICS_RETENTION_DAYS", "30"), ("METRICS_ENABLED", "off"), ("ALLOWED", "public, 10.0.0.0/8,"), ("BACKEND", "in_memory"), ("SIZE", "10"), ("Sample:Sectioned", "4"));

        Assert.Equal(TimeSpan.FromSeconds(2.5), sample.Timeout);
        Assert.Equal(TimeSpan.FromDays(30), sample.Retention);
        Assert.False(sample.Enabled);
        Assert.Equal(["public", "10.0.0.0/8"], sample.Allowed);
        Assert.Equal(Backend.InMemory, sample.Backend);
        Assert.Equal((10, 4), (sample.Size, sample.Sectioned));
    }

    [Theory]
    [InlineData("HEALTH_CHECK_TIMEOUT_SECONDS", "soon", "HEALTH_CHECK_TIMEOUT_SECONDS is \"soon\": expected a number of seconds between 1 and 300. Change it, or unset it (the default is 5).")]
    [InlineData("HEALTH_CHECK_TIMEOUT_SECONDS", "301", "HEALTH_CHECK_TIMEOUT_SECONDS is \"301\": expected a number of seconds between 1 and 300. Change it, or unset it (the default is 5).")]
    [InlineData("SIZE", "0", "SIZE is \"0\": expected a whole number between 1 and 10. Change it, or unset it (the default is 3).")]
    [InlineData("SIZE", "1.5", "SIZE is \"1.5\": expected a whole number between 1 and 10. Change it, or unset it (the default is 3).")]
    [InlineData("METRICS_ENABLED", "maybe", "METRICS_ENABLED is \"maybe\": expected true or false. Change it, or unset it (the default is true).")]
    [InlineData("BACKEND", "mysql", "BACKEND is \"mysql\": expected one of postgres, in_memory. Change it, or unset it (the default is postgres).")]
    [InlineData("BACKEND", "1", "BACKEND is \"1\": expected one of postgres, in_memory. Change it, or unset it (the default is postgres).")]
    public void A_wrong_value_is_named_with_bounds_and_remedy(string name, string value, string expected) => Assert.Equal(expected, Error((name, value)));

    [Fact]
    public void All_errors_come_at_once()
    {
        var error = Error(("SIZE", "x"), ("METRICS_ENABLED", "y"));

        Assert.Contains("SIZE", error, StringComparison.Ordinal);
        Assert.Contains("METRICS_ENABLED", error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_secret_is_not_shown()
    {
        var error = Error(("MASTER_KEY", "much-too-long-secret"));

        Assert.Contains("MASTER_KEY", error, StringComparison.Ordinal);
        Assert.DoesNotContain("much-too-long", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Aliases_may_agree_but_not_differ()
    {
        Assert.Equal(TimeSpan.FromDays(7), Read(("MONITORING_METRIC_RETENTION_DAYS", "7")).Retention);
        Assert.Equal(TimeSpan.FromDays(7), Read(("MONITORING_METRIC_RETENTION_DAYS", "7"), ("METRICS_RETENTION_DAYS", "7")).Retention);
        Assert.Contains("differ", Error(("MONITORING_METRIC_RETENTION_DAYS", "7"), ("METRICS_RETENTION_DAYS", "8")), StringComparison.Ordinal);
    }

    [Fact]
    public void Rules_across_settings_are_checked() => Assert.Equal("SIZE must not be 7.", Error(("SIZE", "7")));

    [Fact]
    public void The_value_itself_is_the_dependency()
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration["SIZE"] = "9";

        builder.AddSettings<Sample>();

        using var services = builder.Services.BuildServiceProvider();
        Assert.Equal(9, services.GetRequiredService<Sample>().Size);
    }
}
