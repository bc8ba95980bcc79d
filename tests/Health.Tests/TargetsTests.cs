using Platform.Health.Checks;
using Platform.ServiceDefaults;

namespace Platform.Health.Tests;

public sealed class TargetsTests
{
    [Fact]
    public void Targets_have_a_name_an_address_and_the_settings_defaults()
    {
        var targets = Parse("shop=https://shop.example/health; db=tcp://10.0.0.5:5432");

        Assert.Equal([("shop", "https://shop.example/health", true), ("db", "tcp://10.0.0.5:5432/", false)], targets.Select(target => (target.Name, target.Address.ToString(), target.IsHttp)));
        Assert.All(targets, target => Assert.Equal(new Pace(TimeSpan.FromSeconds(15), TimeSpan.FromSeconds(5)), target.Pace));
        Assert.All(targets, target => Assert.Equal(new Thresholds(3, 2), target.Thresholds));
        Assert.All(targets, target => Assert.False(target.IsPublic));
    }

    [Fact]
    public void Options_change_the_defaults_of_one_target()
    {
        var target = Assert.Single(Parse("shop=https://shop.example/health?deep=1 interval=60 timeout=2.5 failures=5 successes=1 status=200-204,418 public=true"));

        Assert.Equal("?deep=1", target.Address.Query);
        Assert.Equal(new Pace(TimeSpan.FromMinutes(1), TimeSpan.FromSeconds(2.5)), target.Pace);
        Assert.Equal(new Thresholds(5, 1), target.Thresholds);
        Assert.Equal([new StatusRange(200, 204), new StatusRange(418, 418)], target.Statuses);
        Assert.True(target.IsPublic);
    }

    [Theory]
    [InlineData("Shop=https://shop.example/", "entry \"Shop\"", "lower-case")]
    [InlineData("https://shop.example/", "entry \"https://shop.example/\"", "lower-case")]
    [InlineData("shop=shop.example", "entry \"shop\"", "tcp://10.0.0.5:5432")]
    [InlineData("shop=ftp://shop.example/", "entry \"shop\"", "https://shop.example/health")]
    [InlineData("shop=https://me:secret@shop.example/", "entry \"shop\"", "credentials")]
    [InlineData("db=tcp://10.0.0.5", "entry \"db\"", "a host and a port")]
    [InlineData("db=tcp://10.0.0.5:5432/path", "entry \"db\"", "a host and a port")]
    [InlineData("db=tcp://10.0.0.5:5432 status=200", "entry \"db\"", "\"status=200\" is not understood")]
    [InlineData("shop=https://shop.example/ interval=0", "entry \"shop\"", "\"interval=0\" is not understood")]
    [InlineData("shop=https://shop.example/ timeout=fast", "entry \"shop\"", "\"timeout=fast\" is not understood")]
    [InlineData("shop=https://shop.example/ failures=101", "entry \"shop\"", "\"failures=101\" is not understood")]
    [InlineData("shop=https://shop.example/ status=300-200", "entry \"shop\"", "\"status=300-200\" is not understood")]
    [InlineData("shop=https://shop.example/ colour=red", "entry \"shop\"", "\"colour=red\" is not understood")]
    [InlineData("shop=https://shop.example/ public=true public=false", "entry \"shop\"", "public is given twice")]
    [InlineData("shop=https://shop.example/;shop=tcp://10.0.0.5:80", "\"shop\" is taken", "Choose another")]
    [InlineData("postgres=tcp://10.0.0.5:5432", "\"postgres\" is taken", "component of the platform")]
    public void A_mistake_names_entry_and_remedy(string setting, string culprit, string remedy)
    {
        var error = Assert.Throws<SettingsException>(() => Parse(setting));

        Assert.Contains("HEALTH_CHECK_TARGETS", error.Message, StringComparison.Ordinal);
        Assert.Contains(culprit, error.Message, StringComparison.Ordinal);
        Assert.Contains(remedy, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void All_mistakes_are_told_at_once()
    {
        var error = Assert.Throws<SettingsException>(() => Parse("a=nothing; b=tcp://host; c=https://fine.example/"));

        Assert.Equal(2, error.Message.Split(Environment.NewLine).Length);
    }

    [Fact]
    public void More_targets_than_allowed_are_refused()
    {
        var error = Assert.Throws<SettingsException>(() => Targets.Parse(new HealthOptions { Targets = "a=tcp://h:1;b=tcp://h:2", MaxTargets = 1 }, []));

        Assert.Contains("HEALTH_CHECK_MAX_TARGETS allows 1", error.Message, StringComparison.Ordinal);
    }

    private static IReadOnlyList<Target> Parse(string setting) => Targets.Parse(new HealthOptions { Targets = setting }, ["postgres"]);
}
